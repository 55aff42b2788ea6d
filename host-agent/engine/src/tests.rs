//! What the engine promises, told as examples over a simulated host, and a model that looks for what they forgot.

mod answers;
mod change;
mod delete;
mod keep_alive;
mod local;
mod model;
mod policies;
mod restart;
mod restore;
mod shutdown;
mod sim;
mod stop;
mod stories;
