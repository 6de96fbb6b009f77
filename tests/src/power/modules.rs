//! Which files of the kernel's modules have to be loaded, in which order: from the table that
//! `depmod` makes, and the list of those that are part of the kernel itself. Pure.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

/// The modules of a kernel.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    /// Files with what each of them needs.
    rows: Vec<(&'a str, Vec<&'a str>)>,
    /// Modules that need not be loaded.
    builtin: BTreeSet<&'a str>,
}

impl<'a> Table<'a> {
    /// Reads `modules.dep` and `modules.builtin`.
    ///
    /// # Errors
    /// A line has another shape.
    pub fn parse(dep: &'a str, builtin: &'a str) -> Result<Self> {
        let row = |line: &'a str| {
            let (path, needs) = line.split_once(':').with_context(|| format!("no row: {line}"))?;
            Ok((path, needs.split_whitespace().collect()))
        };
        let rows = dep.lines().map(row).collect::<Result<_>>()?;
        Ok(Self { rows, builtin: builtin.lines().map(module).collect() })
    }

    /// Paths of the wanted modules and of all that they need, each after what it needs.
    ///
    /// # Errors
    /// There is no such module.
    pub fn order(&self, wanted: &[&str]) -> Result<Vec<&'a str>> {
        let mut order = Vec::new();
        for name in wanted.iter().filter(|name| !self.builtin.contains(**name)) {
            let Some((path, needs)) = self.rows.iter().find(|(path, _)| module(path) == *name)
            else {
                bail!("the kernel has no module {name}");
            };
            // A row has all of them, the nearest ones first.
            order.extend(needs.iter().rev().copied());
            order.push(*path);
        }
        let mut known = BTreeSet::new();
        order.retain(|path| known.insert(*path));
        Ok(order)
    }
}

/// The name of the module in this file: `a/b/virtio_net.ko.xz` is `virtio_net`.
fn module(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::Table;

    const TEXT: &str = "kernel/lib/crc16.ko:\n\
        kernel/fs/mbcache.ko:\n\
        kernel/fs/jbd2/jbd2.ko:\n\
        kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/lib/crc16.ko\n\
        kernel/drivers/virtio.ko.xz:\n\
        kernel/drivers/ring.ko: kernel/drivers/virtio.ko.xz\n\
        kernel/drivers/blk.ko: kernel/drivers/ring.ko kernel/drivers/virtio.ko.xz\n";

    const BUILTIN: &str = "kernel/crypto/crc32c.ko\nkernel/drivers/clock.ko\n";

    #[test]
    fn a_module_comes_once_and_after_what_it_needs_unless_the_kernel_has_it() {
        let order =
            Table::parse(TEXT, BUILTIN).unwrap().order(&["blk", "crc32c", "ext4", "ring"]).unwrap();
        let wanted = [
            "kernel/drivers/virtio.ko.xz",
            "kernel/drivers/ring.ko",
            "kernel/drivers/blk.ko",
            "kernel/lib/crc16.ko",
            "kernel/fs/mbcache.ko",
            "kernel/fs/jbd2/jbd2.ko",
            "kernel/fs/ext4/ext4.ko",
        ];
        assert_eq!(order, wanted);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = Table::parse(TEXT, BUILTIN).unwrap().order(&["xfs"]).unwrap_err().to_string();
        assert_eq!(error, "the kernel has no module xfs");
        assert!(Table::parse("text", "").is_err());
    }
}
