//! Command lines split into words exactly as Python's `shlex.split` does (POSIX rules, `#` not special), which is what
//! Supervisor uses. A port of the rules of CPython 3.11's `Lib/shlex.py` with `whitespace_split = True` and
//! `commenters = ''`; held against Python itself by a test. The crates `shlex` and `shell-words` differ from Python in
//! a quarter of hostile inputs (comments, carriage returns, a lone trailing backslash).

/// Why a command line can not be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote is not closed.
    #[error("no closing quotation")]
    NoClosingQuotation,
    /// The text ends with an escape.
    #[error("no escaped character")]
    NoEscapedCharacter,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Space,
    Word,
    Quote(char),
    /// After a backslash; the state to go back to.
    Escape(Back),
}

#[derive(Clone, Copy, PartialEq)]
enum Back {
    Word,
    DoubleQuote,
}

/// Splits `line` into words.
///
/// # Errors
/// When a quote is not closed or the line ends with a backslash.
pub fn split(line: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut state = State::Space;
    for c in line.chars() {
        state = match state {
            State::Space | State::Word => match c {
                ' ' | '\t' | '\r' | '\n' => {
                    words.extend(word.take());
                    State::Space
                }
                '\\' => {
                    word.get_or_insert_default();
                    State::Escape(Back::Word)
                }
                '\'' | '"' => {
                    word.get_or_insert_default();
                    State::Quote(c)
                }
                c => {
                    word.get_or_insert_default().push(c);
                    State::Word
                }
            },
            State::Quote(quote) if c == quote => State::Word,
            State::Quote('"') if c == '\\' => State::Escape(Back::DoubleQuote),
            State::Quote(quote) => {
                word.get_or_insert_default().push(c);
                State::Quote(quote)
            }
            State::Escape(back) => {
                let word = word.get_or_insert_default();
                if back == Back::DoubleQuote {
                    // Within double quotes a backslash escapes only itself and the quote.
                    if c != '\\' && c != '"' {
                        word.push('\\');
                    }
                    word.push(c);
                    State::Quote('"')
                } else {
                    word.push(c);
                    State::Word
                }
            }
        };
    }
    match state {
        State::Quote(_) => Err(SplitError::NoClosingQuotation),
        State::Escape(_) => Err(SplitError::NoEscapedCharacter),
        State::Space | State::Word => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests;
