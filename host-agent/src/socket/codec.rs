//! XML-RPC in and out: bytes to a [`Call`], a result to bytes. Pure: never reads a socket, never knows a method.

use dxr::{FaultResponse, MethodCall, MethodResponse, Value};

use super::fault::Fault;

/// Longest request body. The longest honest one is a `system.multicall` over a few dozen names; a longer one is
/// answered 413 and read no further.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// Deepest nesting of elements. A `system.multicall` needs 14; the parser recurses, so a deeper request is answered 400
/// before it is parsed.
const DEPTH_MAX: usize = 32;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// `namespace.method`.
    pub(crate) method: String,
    /// Its parameters.
    pub(crate) params: Vec<Value>,
}

/// Why a body is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the request is not UTF-8")]
    NotUtf8,
    #[error(
        "the request has a comment, CDATA, document type or attribute; XML-RPC needs none of them"
    )]
    Declaration,
    #[error("the request nests deeper than {DEPTH_MAX} elements")]
    TooDeep,
    #[error("the request is not an XML-RPC method call")]
    NotACall,
}

/// Reads a request.
pub(crate) fn parse_call(body: &[u8]) -> Result<Call, Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::NotUtf8)?;
    check_depth(text)?;
    let call = MethodCall::from_xml(text).map_err(|_| Malformed::NotACall)?;
    let method = call.name.trim();
    if method.is_empty() {
        return Err(Malformed::NotACall);
    }
    Ok(Call {
        method: method.to_owned(),
        params: call.params,
    })
}

/// Refuses what nests too deep for a recursive parser. It must never count less than the parser does, so what could
/// make the two disagree (`<!`, quotes within a tag) is refused: XML-RPC has no use for either.
fn check_depth(text: &str) -> Result<(), Malformed> {
    let mut depth = 0_usize;
    let mut rest = text.as_bytes();
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        rest = &rest[start + 1..];
        if rest.first() == Some(&b'?') {
            let end = rest.windows(2).position(|pair| pair == b"?>");
            rest = &rest[end.ok_or(Malformed::NotACall)? + 2..];
            continue;
        }
        let end = rest.iter().position(|byte| *byte == b'>');
        let (tag, after) = rest.split_at(end.ok_or(Malformed::NotACall)?);
        if tag.first() == Some(&b'!') || tag.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
            return Err(Malformed::Declaration);
        }
        if tag.first() == Some(&b'/') {
            depth = depth.saturating_sub(1);
        } else if tag.last() != Some(&b'/') {
            depth += 1;
        }
        if depth > DEPTH_MAX {
            return Err(Malformed::TooDeep);
        }
        rest = after;
    }
    Ok(())
}

/// Writes an answer; faults travel as answers, too.
pub(crate) fn render(result: Result<Value, Fault>) -> Result<String, dxr::Error> {
    let body = match result {
        Ok(value) => MethodResponse {
            value: legible(value),
        }
        .to_xml()?,
        Err(fault) => FaultResponse {
            fault: dxr::Fault::new(fault.code.number(), text(fault.to_string().as_bytes())),
        }
        .to_xml()?,
    };
    Ok(format!("<?xml version='1.0'?>\n{body}\n"))
}

/// The bytes as a text that XML can carry: what is not UTF-8 and the control characters XML 1.0 forbids (the `ESC` of
/// coloured logs) become U+FFFD. Supervisor sends them as they are, and its clients die of it.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => c,
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
            _ => c,
        })
        .collect()
}

fn legible(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(string.as_bytes())),
        Value::Array(values) => Value::Array(values.into_iter().map(legible).collect()),
        Value::Struct(members) => Value::Struct(
            members
                .into_iter()
                .map(|(name, value)| (name, legible(value)))
                .collect(),
        ),
        other => other,
    }
}

/// About how many bytes a value takes on the wire.
pub(crate) fn weight(value: &Value) -> usize {
    /// Tags around a value or a member.
    const TAGS: usize = 64;
    TAGS + match value {
        Value::String(string) => string.len(),
        Value::Base64(bytes) => bytes.len().div_ceil(3) * 4,
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Struct(members) => members
            .iter()
            .map(|(name, value)| name.len() + weight(value))
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
