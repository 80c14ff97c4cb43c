//! What one core owns and runs: runtime, listeners, pools, drain.
