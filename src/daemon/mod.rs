//! The running node: everything that has a clock, a thread or a socket.
//! Never decides about mail: that is done by the node, which is told of what happens here.

pub mod brake;
pub mod clock;
pub mod complaint;
pub mod copies;
pub mod driver;
pub mod handle;
pub mod hold;
pub mod links;
pub mod opening;
pub mod prove;
pub mod release;
pub mod room;
mod roster_file;
pub mod run;
pub mod status;
pub mod upkeep;
pub mod view;
pub mod warnings;
