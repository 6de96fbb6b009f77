//! The lab that all tests of this program share, and the images they use.
//!
//! Most tests use it beside each other, each in namespaces of its own ([`lab`]). A test that
//! takes away what others stand on (the API server, a node, the link) has it [`alone`].

use std::path::{Path, PathBuf};
use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lineside_lab::binaries::Set;
use lineside_lab::shared::{self, Shared};
use lineside_lab::{Lab, Options, RunId};
use lineside_tests::dir::{TestDir, target_dir};
use lineside_tests::tools::workspace;
use xtask::cache::{Cache, E2E_RUN};

/// Whose lab is removed when this program ends.
pub const GUARD: &str = env!("CARGO_BIN_EXE_lineside-lab-guard");

/// Folder of the images to use instead of those that `cargo xtask image` has written last.
const IMAGES: &str = "LINESIDE_TEST_IMAGES";

/// How long another checkout's tests may keep the lab.
const PATIENCE: Duration = Duration::from_secs(3600);

static LAB: OnceLock<Result<Shared, String>> = OnceLock::new();
static USE: RwLock<()> = RwLock::new(());

/// The shared lab while a test uses it.
pub struct InUse<G> {
    lab: &'static Lab,
    _use: G,
}

impl<G> std::ops::Deref for InUse<G> {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        self.lab
    }
}

/// The shared lab, beside other tests. The first to ask starts it.
pub fn lab() -> InUse<RwLockReadGuard<'static, ()>> {
    // A test that failed leaves no broken value behind: there is none.
    let held = USE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    InUse { lab: running(), _use: held }
}

/// The shared lab while no other test uses it.
pub fn alone() -> InUse<RwLockWriteGuard<'static, ()>> {
    let held = USE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    InUse { lab: running(), _use: held }
}

fn running() -> &'static Lab {
    let lab = LAB.get_or_init(|| {
        let started = Instant::now();
        let options = options(E2E_RUN).map_err(|error| format!("{error:#}"))?;
        let lab = shared::start(Path::new(GUARD), &options, PATIENCE);
        let lab = lab.map_err(|error| format!("{error:#}"))?;
        println!("lab {E2E_RUN}: up in {:.1} s", started.elapsed().as_secs_f64());
        Ok(lab)
    });
    match lab {
        Ok(lab) => lab,
        Err(error) => panic!("{error}"),
    }
}

/// How a lab of the tests is set up; its logs are kept with those of the tests.
pub fn options(run: &str) -> Result<Options> {
    let cache = Cache::of(workspace())?;
    let run: RunId = run.parse()?;
    let logs = TestDir::new(&format!("lab-{run}"))?;
    let mut options = Options::new(run, cache.labs(), Set::Core.find(cache.root())?);
    options.logs = Some(logs.path().to_path_buf());
    Ok(options)
}

/// The archive of an image of ours, `agent` or `operator`, and what pods call it.
///
/// # Errors
/// It was not made.
pub fn image(name: &str) -> Result<(PathBuf, String)> {
    let images = match std::env::var_os(IMAGES) {
        Some(dir) => PathBuf::from(dir),
        None => target_dir()?.parent().context("the target directory")?.join("images"),
    };
    let archive = images.join(format!("{name}.tar"));
    if !archive.is_file() {
        bail!("{} is missing; run: cargo xtask image", archive.display());
    }
    Ok((archive, format!("lineside/{name}:{}", env!("CARGO_PKG_VERSION"))))
}
