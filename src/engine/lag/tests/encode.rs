//! Writes what the decoder reads, by the same tables.

use crate::engine::lag::schema::{Field, Kind, Type};
use crate::engine::lag::tree::Tree;

/// How a struct is written.
#[derive(Clone, Copy)]
pub struct Form {
    pub version: i16,
    pub flexible: bool,
}

/// A key with its version.
pub fn key(kind: Kind, fields: &Tree<'_>) -> Vec<u8> {
    let mut out = kind.version().to_be_bytes().to_vec();
    let form = Form {
        version: 0,
        flexible: false,
    };
    write_fields(kind.schema().key, form, fields, &mut out);
    out
}

/// A value with its version, in the layout of releases or of a preview.
pub fn value(layout: &[Field], form: Form, fields: &Tree<'_>) -> Vec<u8> {
    let mut out = form.version.to_be_bytes().to_vec();
    write_fields(layout, form, fields, &mut out);
    out
}

pub fn write_fields(layout: &[Field], form: Form, tree: &Tree<'_>, out: &mut Vec<u8>) {
    let present = || layout.iter().filter(|field| field.is_in(form.version));
    for field in present().filter(|field| field.tag.is_none()) {
        let value = tree
            .get(field.name)
            .unwrap_or_else(|| panic!("{} is missing", field.name));
        write_field(field, form, value, out);
    }
    if form.flexible {
        let tagged: Vec<_> = present()
            .filter_map(|field| Some((field, field.tag?, tree.get(field.name)?)))
            .collect();
        write_uvarint(tagged.len(), out);
        for (field, tag, value) in tagged {
            let mut bytes = Vec::new();
            write_field(field, form, value, &mut bytes);
            write_uvarint(tag as usize, out);
            write_uvarint(bytes.len(), out);
            out.extend(bytes);
        }
    }
}

fn write_field(field: &Field, form: Form, value: &Tree<'_>, out: &mut Vec<u8>) {
    if let (true, Type::Struct(_)) = (field.nullable, field.of) {
        let there = *value != Tree::Null;
        match field.tag {
            Some(_) => out.push(u8::from(there)),
            None => out.push(if there { 1 } else { 0xff }),
        }
        if !there {
            return;
        }
    }
    write_type(&field.of, form, value, out);
}

fn write_type(of: &Type, form: Form, value: &Tree<'_>, out: &mut Vec<u8>) {
    match (of, value) {
        (Type::Int8, Tree::Number(number)) => out.push(i8::try_from(*number).expect("fits") as u8),
        (Type::Int16, Tree::Number(number)) => out.extend(i16::try_from(*number).expect("fits").to_be_bytes()),
        (Type::Uint16, Tree::Number(number)) => out.extend(u16::try_from(*number).expect("fits").to_be_bytes()),
        (Type::Int32, Tree::Number(number)) => out.extend(i32::try_from(*number).expect("fits").to_be_bytes()),
        (Type::Int64, Tree::Number(number)) | (Type::Time, Tree::Time(number)) => out.extend(number.to_be_bytes()),
        (Type::Uuid, Tree::Uuid(id)) => out.extend(id),
        (Type::Text, Tree::Null) if !form.flexible => out.extend([0xff; 2]),
        (Type::Bytes | Type::List(_), Tree::Null) if !form.flexible => out.extend([0xff; 4]),
        (Type::Text | Type::Bytes | Type::List(_), Tree::Null) => out.push(0),
        (Type::Text, Tree::Text(text)) => {
            if form.flexible {
                write_uvarint(text.len() + 1, out);
            } else {
                out.extend(i16::try_from(text.len()).expect("short").to_be_bytes());
            }
            out.extend(text.bytes());
        }
        (Type::Bytes, Tree::Bytes(bytes)) => {
            write_count(bytes.len(), form, out);
            out.extend(*bytes);
        }
        (Type::List(of), Tree::List(list)) => {
            write_count(list.len(), form, out);
            for value in list {
                write_type(of, form, value, out);
            }
        }
        (Type::Struct(fields), tree) => write_fields(fields, form, tree, out),
        (of, value) => panic!("{value:?} is no {of:?}"),
    }
}

fn write_count(count: usize, form: Form, out: &mut Vec<u8>) {
    if form.flexible {
        write_uvarint(count + 1, out);
    } else {
        out.extend(i32::try_from(count).expect("few").to_be_bytes());
    }
}

pub fn write_uvarint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
