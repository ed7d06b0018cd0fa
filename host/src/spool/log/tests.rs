//! Tests of the log: what every spool must do, and what only this one can be asked.

mod conformance;
