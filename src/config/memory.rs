//! How much memory this process may use: the limit of its container, else what the machine has.

use std::{fs, path::Path, sync::OnceLock};

const MIB: u64 = 1 << 20;
/// The most that L1 takes unless told otherwise.
const MOST: u64 = 64 * MIB;
/// Which part of the memory L1 takes of a small container.
const PART: u64 = 16;

/// The default of `l1.maxBytes`: 64 MiB, or a sixteenth of the memory there is if that is less. Looked up once.
pub(super) fn default_max_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| share(limit(Path::new("/"))))
}

fn share(limit: Option<u64>) -> u64 {
    limit.map_or(MOST, |bytes| (bytes / PART).min(MOST))
}

/// The memory limit in bytes as seen from `root`. Without procfs (macOS, Windows) it is unknown, which makes no
/// difference on machines of 1 GiB and more.
fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| of_group(root, line));
    limits.chain(physical(root)).min()
}

/// The limit that one line of `/proc/self/cgroup` (`id:controllers:path`) leads to.
fn of_group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, group) = (parts.next()?, parts.next()?);
    if controllers.is_empty() {
        return tightest(&root.join("sys/fs/cgroup"), group, "memory.max");
    }
    let memory = controllers.split(',').any(|each| each == "memory");
    memory
        .then(|| {
            tightest(
                &root.join("sys/fs/cgroup/memory"),
                group,
                "memory.limit_in_bytes",
            )
        })
        .flatten()
}

/// The lowest limit from `group` up to the mount: a parent's limit holds for its children. Where the container sees
/// its own group as the mount, only that one exists.
fn tightest(mount: &Path, group: &str, file: &str) -> Option<u64> {
    Path::new(group.trim_start_matches('/'))
        .ancestors()
        .filter(|folder| !folder.starts_with(".."))
        .filter_map(|folder| number(&mount.join(folder).join(file)))
        .min()
}

/// `max`, and the number just below 2^63 that cgroup v1 writes for it, are above any physical memory.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn physical(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       16000000 kB\nMemFree: 1 kB\n",
    );

    fn limit_with(name: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root =
            std::env::temp_dir().join(format!("evenkeel-memory-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let limit = limit(&root);
        let _ = fs::remove_dir_all(&root);
        limit
    }

    #[test]
    fn a_container_of_cgroup_v2_tells_its_limit() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
        ];
        assert_eq!(limit_with("v2", &files), Some(256 * MIB));
    }

    #[test]
    fn a_parent_group_that_is_tighter_counts() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "0::/kube/pod/app\n"),
            ("sys/fs/cgroup/kube/pod/app/memory.max", "max\n"),
            ("sys/fs/cgroup/kube/pod/memory.max", "134217728\n"),
            ("sys/fs/cgroup/kube/memory.max", "268435456\n"),
        ];
        assert_eq!(limit_with("parent", &files), Some(128 * MIB));
    }

    #[test]
    fn a_container_of_cgroup_v1_tells_its_limit_though_its_group_is_not_mounted() {
        let files = [
            MACHINE,
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ];
        assert_eq!(limit_with("v1", &files), Some(512 * MIB));
    }

    #[test]
    fn no_limit_leaves_the_memory_of_the_machine() {
        let unlimited = [
            MACHINE,
            ("proc/self/cgroup", "3:memory:/\n0::/\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(limit_with("unlimited", &unlimited), Some(16_384_000_000));
        assert_eq!(limit_with("nothing", &[("empty", "")]), None);
    }

    #[test]
    fn l1_takes_a_sixteenth_but_at_most_64_mib() {
        assert_eq!(share(Some(256 * MIB)), 16 * MIB);
        assert_eq!(share(Some(32_768 * MIB)), 64 * MIB);
        assert_eq!(share(None), 64 * MIB);
        assert!(default_max_bytes() > 0);
    }
}
