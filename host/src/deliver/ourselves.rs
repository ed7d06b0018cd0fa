//! Delivery to ourselves, by whatever name or port, is seen in the greeting before any mail goes.

use ring::rand::{SecureRandom, SystemRandom};

/// Octets that nobody guesses.
const RANDOM: usize = 10;

/// A word of this process, which its listeners say in their greetings.
#[derive(Debug, Clone)]
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> std::io::Result<Self> {
        let mut random = [0; RANDOM];
        let failed = |_| std::io::Error::other("the system gives no random numbers");
        SystemRandom::new().fill(&mut random).map_err(failed)?;
        Ok(Self(random.iter().map(|octet| format!("{octet:02x}")).collect()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is we who greet.
    pub fn is_in(&self, greeting: &str) -> bool {
        greeting.split_ascii_whitespace().any(|word| word == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_greeting_and_no_other() {
        let (own, other) = (Token::new().expect("random"), Token::new().expect("random"));
        let greeting = format!("220 mx2.example ESMTP Postern {}", own.as_str());
        assert!(own.is_in(&greeting));
        assert!(!other.is_in(&greeting));
        assert!(!own.is_in("220 mx2.example ESMTP Postern"));
    }
}
