//! What the engine promises, told as examples over a simulated host, and a model that looks for what they forgot.

mod answers;
mod change;
mod delete;
mod epoch;
mod keep_alive;
mod local;
mod model;
mod oracle;
mod past;
mod policies;
mod restart;
mod restore;
mod rollout;
mod shutdown;
mod sim;
mod stop;
mod stories;
mod year;
