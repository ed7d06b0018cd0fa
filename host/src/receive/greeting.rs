//! What our greeting says. Delivery to ourselves, by whatever name or port, is seen in it before
//! any mail goes.

use postern_core::wire::Text;
use ring::rand::{SecureRandom, SystemRandom};

/// Octets that nobody guesses.
const RANDOM: usize = 10;

/// What a greeting says but for the random word (RFC 5321 section 4.2 leaves it to us).
const PRODUCT: &str = "ESMTP Postern";

/// A word of this process, which its listeners say in their greetings.
#[derive(Debug, Clone)]
pub struct Token {
    word: String,
    greeting: String,
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> std::io::Result<Self> {
        let mut random = [0; RANDOM];
        let failed = |_| std::io::Error::other("the system gives no random numbers");
        SystemRandom::new().fill(&mut random).map_err(failed)?;
        let word: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(Self { greeting: format!("{PRODUCT} {word}"), word })
    }

    /// What a listener says behind its name.
    ///
    /// # Panics
    /// Never: it is short and printable.
    pub fn greeting(&self) -> Text<'_> {
        Text::new(self.greeting.as_bytes()).expect("a product and hexadecimal digits")
    }

    /// Whether it is we who greet.
    pub fn is_in(&self, greeting: &str) -> bool {
        greeting.split_ascii_whitespace().any(|word| word == self.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_greeting_and_no_other() {
        let (own, other) = (Token::new().expect("random"), Token::new().expect("random"));
        let text = str::from_utf8(own.greeting().as_bytes()).expect("ASCII");
        let greeting = format!("220 mx2.example {text}");
        assert!(own.is_in(&greeting));
        assert!(!other.is_in(&greeting));
        assert!(!own.is_in("220 mx2.example ESMTP Postern"));
    }
}
