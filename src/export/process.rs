//! What the operating system says of this process.
//!
//! Linux tells it in `/proc/self`; where that is not there, nothing is said, and no metric is made up.

/// Clock ticks a second in `/proc/self/stat`: fixed at 100 for user space on Linux.
const TICKS: f64 = 100.0;

/// CPU time and memory of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// CPU time in user mode, all threads, seconds.
    pub user: f64,
    /// CPU time in the kernel, seconds.
    pub system: f64,
    /// Resident memory, bytes.
    pub resident: u64,
}

/// `None` where the system does not say.
pub fn usage() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    read(&stat, &status)
}

fn read(stat: &str, status: &str) -> Option<Usage> {
    // The name in brackets may hold anything, also brackets and blanks.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
    let (user, system) = (seconds()?, seconds()?);
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Usage {
        user,
        system,
        resident: kib * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_fields_14_and_15_whatever_the_process_is_called() {
        let stat = "77 (a) b (c)) S 1 77 77 0 -1 4194560 100 0 0 0 250 30 0 0 20 0 5 0 100 0 0";
        let status = "Name:\tx\nVmHWM:\t   900 kB\nVmRSS:\t   800 kB\n";
        let usage = read(stat, status).unwrap();
        assert_eq!((usage.user, usage.system, usage.resident), (2.5, 0.3, 819_200));
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        assert_eq!(read("", ""), None);
        assert_eq!(read("77 (a) S 1 2", "VmRSS: 1 kB"), None);
    }
}
