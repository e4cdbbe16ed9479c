use super::*;
use proptest::prelude::*;

const UNIT: i64 = 1_000_000;

fn exponential() -> Kind {
    Kind::Exponential { max_buckets: 160 }
}

fn of(values: &[i64], kind: &Kind) -> Partial {
    let mut partial = Partial::empty(kind);
    for value in values {
        partial.observe(*value, kind);
    }
    partial
}

fn histogram(partial: &Partial) -> &Histogram {
    match partial {
        Partial::Histogram(histogram) => histogram,
        other => panic!("{other:?} is no histogram"),
    }
}

#[test]
fn a_value_equal_to_an_explicit_bound_is_below_it() {
    let kind = Kind::Explicit {
        bounds: vec![UNIT, 2 * UNIT],
    };
    let partial = of(&[0, UNIT, UNIT + 1, 2 * UNIT, 3 * UNIT], &kind);
    assert_eq!(histogram(&partial).buckets(), [2, 2, 1]);
    assert_eq!(histogram(&partial).sum(), i128::from(7 * UNIT + 1));
    assert_eq!(histogram(&partial).count(), 5);
}

#[test]
fn the_greatest_exemplar_stays_in_any_order_and_on_the_wire() {
    let with = |value: i64, trace: u128| {
        let mut partial = of(&[value], &exponential());
        partial.exemplify(Exemplar {
            value,
            time: crate::engine::time::EventTime(5),
            trace,
            span: 9,
        });
        partial
    };
    let parts = [with(3, 1), of(&[9], &exponential()), with(7, 2), with(7, 1)];
    let merged = |order: [usize; 4]| {
        let mut all = Partial::empty(&exponential());
        for at in order {
            all.merge(&parts[at]).expect("one kind");
        }
        all
    };
    let all = merged([0, 1, 2, 3]);
    assert_eq!(all, merged([3, 2, 1, 0]));
    assert_eq!(
        histogram(&all)
            .exemplar()
            .map(|exemplar| (exemplar.value, exemplar.trace)),
        Some((7, 2))
    );
    assert_eq!(Partial::from_codec(&all.to_codec(), &exponential()), Some(all.clone()));
    let mut short = all.to_codec();
    let Some(codec::value::Kind::Histogram(read)) = &mut short.kind else {
        panic!("a histogram");
    };
    read.exemplar.as_mut().expect("it has one").trace.pop();
    assert_eq!(Partial::from_codec(&short, &exponential()), None);
}

#[test]
fn powers_of_two_are_the_last_values_of_their_buckets() {
    for power in 0..43 {
        let value = 1_000_000_u64 << power;
        assert_eq!(index_of(value), power * 256 - 1, "2^{power}");
        assert_eq!(
            index_of(value + 1).max(power * 256),
            index_of(value + 1),
            "2^{power} and a bit"
        );
    }
    // Down to 1/64, the finest power of two that is a whole number of millionths.
    for power in 1..=6 {
        assert_eq!(index_of(1_000_000 >> power), -power * 256 - 1, "2^-{power}");
    }
}

#[test]
fn every_value_fits_the_coarsest_scale() {
    let kind = Kind::Exponential { max_buckets: 1 };
    let partial = of(&[1, i64::MAX, UNIT], &kind);
    let histogram = histogram(&partial);
    assert_eq!(histogram.scale(), Some(MIN_SCALE));
    assert!(histogram.buckets().len() <= usize::from(MIN_BUCKETS));
    assert_eq!(histogram.buckets().iter().sum::<u64>(), 3);
}

#[test]
fn one_value_keeps_the_finest_scale_and_one_bucket() {
    let partial = of(&[3 * UNIT; 5], &exponential());
    let histogram = histogram(&partial);
    assert_eq!((histogram.scale(), histogram.buckets()), (Some(8), &[5][..]));
    let base = 2_f64.powf(1.0 / 256.0);
    let (low, high) = (base.powi(histogram.offset()), base.powi(histogram.offset() + 1));
    assert!(low < 3.0 && 3.0 <= high, "{low} {high}");
}

#[test]
fn zeros_and_what_is_below_are_counted_apart() {
    let partial = of(&[0, -5, UNIT], &exponential());
    assert_eq!(histogram(&partial).zero_count(), 2);
    assert_eq!(histogram(&partial).count(), 3);
    assert_eq!(histogram(&partial).sum(), i128::from(UNIT));
}

#[test]
fn partials_of_other_kinds_do_not_merge() {
    let mut count = Partial::Count(1);
    assert_eq!(count.merge(&Partial::Sum(1)), Err(OtherKind));
    let mut two = Partial::empty(&Kind::Explicit { bounds: vec![1] });
    assert_eq!(
        two.merge(&Partial::empty(&Kind::Explicit { bounds: vec![1, 2] })),
        Err(OtherKind)
    );
}

#[test]
fn hostile_histograms_are_refused() {
    let good = histogram(&of(&[UNIT, 5 * UNIT], &exponential())).to_codec();
    let refused = |change: &dyn Fn(&mut codec::Histogram), kind: &Kind| {
        let mut histogram = good.clone();
        change(&mut histogram);
        let value = codec::Value {
            kind: Some(codec::value::Kind::Histogram(histogram)),
        };
        assert_eq!(Partial::from_codec(&value, kind), None);
    };
    refused(&|bad| bad.scale = Some(9), &exponential());
    refused(&|bad| bad.scale = Some(-5), &exponential());
    refused(&|bad| bad.scale = None, &exponential());
    refused(&|bad| bad.count += 1, &exponential());
    refused(&|bad| bad.zero_count = u64::MAX, &exponential());
    refused(&|bad| bad.offset = i32::MAX, &exponential());
    refused(&|bad| bad.offset = i32::MIN, &exponential());
    refused(&|bad| bad.sum.truncate(15), &exponential());
    refused(&|bad| bad.buckets = vec![0; 100_000], &exponential());
    refused(
        &|bad| {
            bad.buckets = vec![1; 60_000];
            bad.count = 60_000;
            bad.scale = Some(-4);
        },
        &exponential(),
    );
    refused(&|_| (), &Kind::Explicit { bounds: vec![1] });
    refused(&|_| (), &Kind::Count);
    assert_eq!(Partial::from_codec(&codec::Value { kind: None }, &Kind::Count), None);
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Sum),
        prop::collection::btree_set(0..1_000 * UNIT, 0..8).prop_map(|bounds| Kind::Explicit {
            bounds: bounds.into_iter().collect()
        }),
        prop::sample::select(vec![1, 8, 20, 160]).prop_map(|max_buckets| Kind::Exponential { max_buckets }),
    ]
}

fn values() -> impl Strategy<Value = Vec<i64>> {
    let value = prop_oneof![
        Just(0),
        0..100 * UNIT,
        (0_u32..63).prop_flat_map(|bits| 0..(1_i64 << bits)),
        (0_u32..40).prop_map(|power| UNIT << power),
    ];
    prop::collection::vec(value, 0..30)
}

proptest! {
    #[test]
    fn the_index_is_the_one_that_logarithms_give(millionths in 1..=i64::MAX) {
        let exact = (millionths as f64 / UNIT as f64).log2() * 256.0;
        // Next to a bound, doubles cannot tell.
        prop_assume!((exact - exact.round()).abs() > 1e-9);
        prop_assert_eq!(index_of(millionths as u64), exact.floor() as i32);
    }

    #[test]
    fn merging_in_any_order_equals_seeing_all_at_once(
        kind in kinds(), one in values(), two in values(), three in values()
    ) {
        let all: Vec<i64> = [one.clone(), two.clone(), three.clone()].concat();
        let whole = of(&all, &kind);
        let parts = [of(&one, &kind), of(&two, &kind), of(&three, &kind)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut left = parts[order[0]].clone();
            left.merge(&parts[order[1]]).expect("one kind");
            left.merge(&parts[order[2]]).expect("one kind");
            prop_assert_eq!(&left, &whole);
            let mut inner = parts[order[1]].clone();
            inner.merge(&parts[order[2]]).expect("one kind");
            let mut right = parts[order[0]].clone();
            right.merge(&inner).expect("one kind");
            prop_assert_eq!(&right, &whole);
        }
        prop_assert_eq!(Partial::from_codec(&whole.to_codec(), &kind), Some(whole));
    }

    #[test]
    fn an_exponential_histogram_is_as_fine_as_its_buckets_allow(values in values(), max_buckets in 8_u16..200) {
        let kind = Kind::Exponential { max_buckets };
        let partial = of(&values, &kind);
        let histogram = histogram(&partial);
        let indices: Vec<i32> = values.iter().filter(|value| **value > 0).map(|value| index_of(*value as u64)).collect();
        if let (Some(low), Some(high)) = (indices.iter().min(), indices.iter().max()) {
            let width = |scale: i32| (high >> (8 - scale)) - (low >> (8 - scale)) + 1;
            let scale = histogram.scale().expect("exponential");
            prop_assert_eq!(histogram.buckets().len() as i32, width(scale));
            prop_assert!(width(scale) <= i32::from(max_buckets));
            prop_assert!(scale == 8 || width(scale + 1) > i32::from(max_buckets));
        }
    }
}
