//! The parameters of a call, by position and type. What does not fit is INCORRECT_PARAMETERS.

use std::vec::IntoIter;

use dxr::Value;

use super::command::Verb;
use super::fault::{Code, Fault};
use super::signal;

/// The parameters of a call, taken one by one.
pub(crate) struct Params(IntoIter<Value>);

impl Params {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    pub(crate) fn wrong() -> Fault {
        Fault::plain(Code::IncorrectParameters)
    }

    pub(crate) fn string(&mut self) -> Result<String, Fault> {
        match self.0.next() {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Self::wrong()),
        }
    }

    /// One of any type.
    pub(crate) fn any(&mut self) -> Result<Value, Fault> {
        self.0.next().ok_or_else(Self::wrong)
    }

    pub(crate) fn integer(&mut self) -> Result<i64, Fault> {
        match self.0.next() {
            Some(Value::Integer(number)) => Ok(number.into()),
            Some(Value::Long(number)) => Ok(number),
            // As Python's `int` reads a text.
            Some(Value::String(text)) => text.trim().parse().map_err(|_| Self::wrong()),
            _ => Err(Self::wrong()),
        }
    }

    /// `wait`, the last parameter of most commands; true when left out.
    pub(crate) fn wait(&mut self) -> Result<bool, Fault> {
        match self.0.next() {
            None => Ok(true),
            Some(Value::Boolean(wait)) => Ok(wait),
            Some(Value::Integer(wait)) => Ok(wait != 0),
            // As Python judges a text.
            Some(Value::String(wait)) => Ok(!wait.is_empty()),
            _ => Err(Self::wrong()),
        }
    }

    pub(crate) fn end(mut self) -> Result<(), Fault> {
        match self.0.next() {
            None => Ok(()),
            Some(_) => Err(Self::wrong()),
        }
    }

    /// A value that takes no parameters.
    pub(crate) fn none(self, value: Value) -> Result<Value, Fault> {
        self.end().map(|()| value)
    }

    /// One text, the only parameter.
    pub(crate) fn only_string(mut self) -> Result<String, Fault> {
        let text = self.string()?;
        self.end().map(|()| text)
    }

    /// Offset and length.
    pub(crate) fn range(mut self) -> Result<(i64, i64), Fault> {
        let range = (self.integer()?, self.integer()?);
        self.end().map(|()| range)
    }

    /// Name, offset and length.
    pub(crate) fn slice(mut self) -> Result<(String, i64, i64), Fault> {
        let slice = (self.string()?, self.integer()?, self.integer()?);
        self.end().map(|()| slice)
    }

    /// A name and `wait`.
    pub(crate) fn name_and_wait(mut self) -> Result<(String, bool), Fault> {
        let both = (self.string()?, self.wait()?);
        self.end().map(|()| both)
    }

    /// A signal, by name or number, as the last parameter; else what is no signal.
    pub(crate) fn signal(mut self) -> Result<Result<Verb, Fault>, Fault> {
        let text = match self.0.next() {
            Some(Value::String(text)) => text,
            Some(Value::Integer(number)) => number.to_string(),
            _ => return Err(Self::wrong()),
        };
        self.end()?;
        Ok(match signal::parse(&text) {
            Some(number) => Ok(Verb::Signal(number)),
            None => Err(Fault::new(Code::BadSignal, text)),
        })
    }
}
