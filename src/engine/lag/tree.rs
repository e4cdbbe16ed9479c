//! A key or a value of any kind, as a tree of named fields.
//!
//! Rule: a tree has the fields that the bytes have, in the order of the layout; tagged fields that are not there are left
//! out. Texts and bytes borrow from the record.
//!
//! Edges:
//! - the bytes must end with the last field: the broker writes nothing behind it, and layouts are told apart by it;
//! - memory is bounded by the record: every element takes at least one of its bytes.

use super::schema::{Field, Schema, Type};
use super::wire::{Malformed, Reader};

/// What a field of a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree<'a> {
    Null,
    Number(i64),
    /// Milliseconds since the epoch, as the broker knows the time; negative where it does not.
    Time(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Uuid([u8; 16]),
    List(Vec<Tree<'a>>),
    Fields(Vec<(&'static str, Tree<'a>)>),
}

/// Which way a struct is written.
#[derive(Clone, Copy)]
struct Form {
    version: i16,
    flexible: bool,
}

// === impl Tree ===

impl<'a> Tree<'a> {
    /// The fields of a key, behind its version.
    pub fn of_key(schema: &Schema, reader: Reader<'a>) -> Result<Self, Malformed> {
        let form = Form {
            version: 0,
            flexible: false,
        };
        whole(schema.key, form, reader)
    }

    /// The fields of a value of a version that the schema knows, behind that version.
    pub fn of_value(schema: &Schema, version: i16, reader: Reader<'a>) -> Result<Self, Malformed> {
        let form = Form {
            version,
            flexible: schema.is_flexible(version),
        };
        let read = whole(schema.value, form, reader.clone());
        match (read, schema.preview) {
            (Err(error), Some(preview)) => whole(preview, form, reader).map_err(|_| error),
            (read, _) => read,
        }
    }

    /// The fields of bytes that are laid out without flexible versions, whatever follows them.
    pub(super) fn of_rigid(fields: &'static [Field], version: i16, mut reader: Reader<'a>) -> Result<Self, Malformed> {
        let form = Form {
            version,
            flexible: false,
        };
        read_fields(fields, form, &mut reader)
    }

    /// The field of this name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Fields(fields) = self else { return None };
        fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

fn whole<'a>(fields: &'static [Field], form: Form, mut reader: Reader<'a>) -> Result<Tree<'a>, Malformed> {
    let tree = read_fields(fields, form, &mut reader)?;
    reader.end()?;
    Ok(tree)
}

fn read_fields<'a>(fields: &'static [Field], form: Form, reader: &mut Reader<'a>) -> Result<Tree<'a>, Malformed> {
    let mut read = Vec::with_capacity(fields.len());
    let present = |field: &&Field| field.is_in(form.version);
    for field in fields.iter().filter(present).filter(|field| field.tag.is_none()) {
        read.push((field.name, read_field(field, form, reader)?));
    }
    if form.flexible {
        let untagged = read.len();
        reader.tags(|tag, mut reader| {
            let Some(field) = fields.iter().filter(present).find(|field| field.tag == Some(tag)) else {
                return Ok(());
            };
            let value = read_field(field, form, &mut reader)?;
            // One that comes twice counts as it came last, as the broker has it.
            read.retain(|(name, _)| *name != field.name);
            read.push((field.name, value));
            Ok(())
        })?;
        let place = |name: &str| fields.iter().position(|field| field.name == name);
        read[untagged..].sort_by_key(|(name, _)| place(name));
    }
    Ok(Tree::Fields(read))
}

fn read_field<'a>(field: &Field, form: Form, reader: &mut Reader<'a>) -> Result<Tree<'a>, Malformed> {
    if !field.nullable {
        return read_type(&field.of, form, reader);
    }
    let flexible = form.flexible;
    let read = match field.of {
        Type::Text => reader.text_or_null(flexible)?.map(Tree::Text),
        Type::Bytes => reader.bytes_or_null(flexible)?.map(Tree::Bytes),
        Type::List(of) => match reader.count_or_null(flexible)? {
            Some(count) => Some(read_list(of, count, form, reader)?),
            None => None,
        },
        Type::Struct(fields) => {
            // Whether it is there is said by a varint in tagged fields, elsewhere by a byte.
            let there = match field.tag {
                Some(_) => reader.uvarint()? > 0,
                None => reader.int8()? >= 0,
            };
            there.then(|| read_fields(fields, form, reader)).transpose()?
        }
        // Nothing else can be null.
        ref other => Some(read_type(other, form, reader)?),
    };
    Ok(read.unwrap_or(Tree::Null))
}

fn read_type<'a>(of: &Type, form: Form, reader: &mut Reader<'a>) -> Result<Tree<'a>, Malformed> {
    let flexible = form.flexible;
    Ok(match of {
        Type::Int8 => Tree::Number(reader.int8()?.into()),
        Type::Int16 => Tree::Number(reader.int16()?.into()),
        Type::Uint16 => Tree::Number(reader.uint16()?.into()),
        Type::Int32 => Tree::Number(reader.int32()?.into()),
        Type::Int64 => Tree::Number(reader.int64()?),
        Type::Time => Tree::Time(reader.int64()?),
        Type::Text => Tree::Text(reader.text(flexible)?),
        Type::Bytes => Tree::Bytes(reader.bytes(flexible)?),
        Type::Uuid => Tree::Uuid(reader.uuid()?),
        Type::Struct(fields) => read_fields(fields, form, reader)?,
        Type::List(of) => {
            let count = reader.count(flexible)?;
            read_list(of, count, form, reader)?
        }
    })
}

fn read_list<'a>(of: &Type, count: usize, form: Form, reader: &mut Reader<'a>) -> Result<Tree<'a>, Malformed> {
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(read_type(of, form, reader)?);
    }
    Ok(Tree::List(list))
}
