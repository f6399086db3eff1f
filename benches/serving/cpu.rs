//! CPU time of a process, its threads included: it tells what a row costs even where others use the
//! machine too.
//!
//! This file must never be used for less than a second: the kernel counts in ticks of 10 ms.

use crate::Failure;

/// User and system time of process `id` in seconds (proc(5), fields 14 and 15 of `stat`).
pub fn seconds(id: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is the command in parentheses, which may hold anything.
    let fields = stat.rsplit_once(')').ok_or("/proc/PID/stat has no command")?.1;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64, Failure> {
        Ok(fields.get(at).ok_or("/proc/PID/stat is short")?.parse::<f64>()?)
    };
    Ok((ticks(11)? + ticks(12)?) / rustix::param::clock_ticks_per_second() as f64)
}
