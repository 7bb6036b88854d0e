//! Segments: golden bytes, round trips, damage against torn tails.
