//! How many cores this process may use: affinity and the cgroup's quota, not the host's count.
//!
//! ONNX Runtime does not look at cgroup limits, so that the thread counts handed to it come from
//! here. Files are read below a root folder, so that a test can lay out a tree of its own.
//! This file must never be read on a request's path.

use std::fs;
use std::path::{Path, PathBuf};

/// What was found, with its sources, for `hilum doctor`.
#[derive(Debug, Clone, PartialEq)]
pub struct CpuQuota {
    /// Cores in the affinity mask.
    pub affinity: usize,
    /// Cores that the control group grants, if it limits them.
    pub cgroup: Option<f64>,
    /// The file that says so.
    pub cgroup_file: Option<PathBuf>,
}

impl CpuQuota {
    /// Reads the quota of this process.
    pub fn detect() -> Self {
        let affinity =
            rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize);
        Self::read(Path::new("/"), affinity)
    }

    /// Reads the quota below `root`, given the affinity's count.
    pub fn read(root: &Path, affinity: usize) -> Self {
        let mut tightest: Option<(f64, PathBuf)> = None;
        for (cores, file) in limits(root) {
            if tightest.as_ref().is_none_or(|(best, _)| cores < *best) {
                tightest = Some((cores, file));
            }
        }
        let (cgroup, cgroup_file) = tightest.unzip();
        Self { affinity: affinity.max(1), cgroup, cgroup_file }
    }

    /// The cores that are configured, or what was found where that is 0.
    pub fn cores_or(&self, configured: usize) -> usize {
        if configured > 0 { configured } else { self.cores() }
    }

    /// Whole cores to plan with: the smaller of both, at least 1; a part of a core counts as one.
    pub fn cores(&self) -> usize {
        let granted = self.cgroup.map_or(usize::MAX, |cores| cores.ceil() as usize);
        self.affinity.min(granted).max(1)
    }
}

/// Every limit that holds for this process: its own group's and each parent's.
fn limits(root: &Path) -> Vec<(f64, PathBuf)> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let mounts: &[&str] = if controllers.is_empty() {
            &["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"]
        } else {
            continue;
        };
        for mount in mounts {
            // Inside a container the group's own path is often not visible and its limit is found
            // at the mount's root; `ancestors` ends there.
            for ancestor in Path::new(group.trim_start_matches('/')).ancestors() {
                let folder = root.join(mount).join(ancestor);
                found.extend(if controllers.is_empty() { v2(&folder) } else { v1(&folder) });
            }
        }
    }
    found
}

/// Control groups version 2: `cpu.max` is "quota period" or "max period", in µs.
fn v2(folder: &Path) -> Option<(f64, PathBuf)> {
    let file = folder.join("cpu.max");
    let text = fs::read_to_string(&file).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some((ratio(quota.parse().ok()?, period.parse().ok()?)?, file))
}

/// Control groups version 1: a quota of -1 is none.
fn v1(folder: &Path) -> Option<(f64, PathBuf)> {
    let file = folder.join("cpu.cfs_quota_us");
    let number = |file: &Path| fs::read_to_string(file).ok()?.trim().parse::<f64>().ok();
    Some((ratio(number(&file)?, number(&folder.join("cpu.cfs_period_us"))?)?, file))
}

fn ratio(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn quota(files: &[(&str, &str)], affinity: usize) -> (Option<f64>, usize) {
        let root = tree(files);
        let quota = CpuQuota::read(root.path(), affinity);
        (quota.cgroup, quota.cores())
    }

    #[test]
    fn no_control_group_leaves_the_affinity() {
        assert_eq!(quota(&[], 6), (None, 6));
    }

    #[test]
    fn version_2_takes_the_tightest_of_the_group_and_its_parents() {
        let files = [
            ("proc/self/cgroup", "0::/pods/web\n"),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pods/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/pods/web/cpu.max", "400000 100000\n"),
        ];
        assert_eq!(quota(&files, 8), (Some(1.5), 2));
    }

    #[test]
    fn version_2_in_a_container_reads_the_mounted_root() {
        let files = [
            ("proc/self/cgroup", "0::/ecs/task/abc\n"),
            ("sys/fs/cgroup/cpu.max", "25000 100000\n"),
        ];
        assert_eq!(quota(&files, 8), (Some(0.25), 1));
    }

    #[test]
    fn version_1_reads_quota_and_period() {
        let files = [
            ("proc/self/cgroup", "12:memory:/x\n4:cpu,cpuacct:/docker/abc\n"),
            ("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "300000\n"),
            ("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota(&files, 2), (Some(3.0), 2));
        assert_eq!(quota(&files, 16), (Some(3.0), 3));
    }

    #[test]
    fn nonsense_is_no_limit() {
        let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "lots\n")];
        assert_eq!(quota(&files, 4), (None, 4));
    }
}
