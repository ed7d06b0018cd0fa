//! Log lines: by defmt with the feature of that name, else none at all.

/// Something happened that an operator wants to see.
macro_rules! info {
    ($($words:tt)*) => { $crate::log::line!(info, $($words)*) };
}

/// Something failed that a person should look after.
macro_rules! warning {
    ($($words:tt)*) => { $crate::log::line!(warn, $($words)*) };
}

macro_rules! line {
    ($level:ident, $format:literal $(, $argument:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        ::defmt::$level!($format $(, $argument)*);
        #[cfg(not(feature = "defmt"))]
        { $( let _ = &$argument; )* }
    }};
}

pub(crate) use {info, line, warning};
