//! What Postern's tests share.
