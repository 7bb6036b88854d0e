//! Whole connections over real sockets on loopback.
//! Never a fixed port, and no certificate that is not made here.

mod echo;
mod fallback;
mod hostile;
mod life;
mod support;
mod trust;
