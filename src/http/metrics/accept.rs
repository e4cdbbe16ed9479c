//! In which format `/metrics` is wanted.
//!
//! Rule: of the formats that are named the one with the greatest `q` is taken, of equals the one named first; who names
//! none that is known gets text, which everybody can read.

/// What can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0, with exemplars.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily`, each behind its length: the only one with native histograms.
    Protobuf,
}

// === impl Format ===

impl Format {
    pub fn wanted(accept: Option<&str>) -> Self {
        let named = accept.unwrap_or_default().split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next()?.to_ascii_lowercase();
            let (mut quality, mut is_ours) = (1000, true);
            for part in parts {
                let (name, value) = part.split_once('=')?;
                let value = value.trim_matches('"');
                match name.to_ascii_lowercase().as_str() {
                    "q" => quality = thousandths(value)?,
                    "proto" => is_ours &= value == "io.prometheus.client.MetricFamily",
                    "encoding" => is_ours &= value == "delimited",
                    _ => {}
                }
            }
            let format = match media.as_str() {
                "text/plain" | "text/*" | "*/*" => Self::Text,
                "application/openmetrics-text" => Self::OpenMetrics,
                "application/vnd.google.protobuf" if is_ours => Self::Protobuf,
                _ => return None,
            };
            (quality > 0).then_some((quality, format))
        });
        let mut best = (0, Self::Text);
        for (quality, format) in named {
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// `0.75` as 750.
fn thousandths(quality: &str) -> Option<u32> {
    let quality: f64 = quality.parse().ok()?;
    (0.0..=1.0).contains(&quality).then_some((quality * 1000.0) as u32)
}

/// Whether the answer may be compressed.
pub fn takes_gzip(accept_encoding: Option<&str>) -> bool {
    accept_encoding.unwrap_or_default().split(',').any(|coding| {
        let (name, rest) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = rest
            .trim()
            .strip_prefix("q=")
            .is_some_and(|quality| thousandths(quality) == Some(0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_quality_wins_and_text_is_for_everybody_else() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1";
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                      application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html"), Format::Text),
            (Some(prometheus), Format::OpenMetrics),
            (Some(native), Format::Protobuf),
            (
                Some("application/vnd.google.protobuf;proto=other;encoding=delimited"),
                Format::Text,
            ),
            (Some("application/openmetrics-text;q=0, text/plain"), Format::Text),
            (Some("text/plain, application/openmetrics-text"), Format::Text),
            (Some("application/openmetrics-text;q=2"), Format::Text),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (accept, takes) in [
            (None, false),
            (Some("gzip"), true),
            (Some("br, GZIP;q=0.5"), true),
            (Some("gzip;q=0"), false),
            (Some("gzippy"), false),
        ] {
            assert_eq!(takes_gzip(accept), takes, "{accept:?}");
        }
    }
}
