//! Single cases, and a world in which everything happens in every order.

mod cases;
mod world;
