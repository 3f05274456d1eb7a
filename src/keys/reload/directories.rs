//! File events from the operating system.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::News;

/// The link behind which Kubernetes exchanges all files of a mounted volume at once.
const VOLUME_LINK: &str = "..data";

/// Reports events until it is dropped.
pub(super) type Directories = RecommendedWatcher;

/// Tells of what happens to these files. Their directories are watched, because files are
/// exchanged by renaming others.
pub(super) fn watch(paths: &[PathBuf], tell: SyncSender<News>) -> Option<Directories> {
    let watched = try_watch(paths, tell);
    if let Err(error) = &watched {
        tracing::warn!("changes of keys are noticed later than they might be: {error}");
    }
    watched.ok()
}

fn try_watch(paths: &[PathBuf], tell: SyncSender<News>) -> notify::Result<Directories> {
    let mut names: BTreeSet<OsString> = BTreeSet::from([VOLUME_LINK.into()]);
    names.extend(
        paths
            .iter()
            .filter_map(|path| path.file_name())
            .map(Into::into),
    );
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let news = match &event {
            Ok(event) if !concerns(event, &names) => None,
            Ok(event) => news(event.kind),
            // Events were lost, or there is something wrong: look.
            Err(_) => Some(News::Whole),
        };
        if let Some(news) = news {
            // Where many wait to be read, one more says nothing new.
            let _ = tell.try_send(news);
        }
    })?;
    let here = Path::new(".");
    let directories: BTreeSet<&Path> = paths
        .iter()
        .filter_map(|path| path.parent())
        .map(|directory| {
            if directory == Path::new("") {
                here
            } else {
                directory
            }
        })
        .collect();
    for directory in directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn concerns(event: &Event, names: &BTreeSet<OsString>) -> bool {
    let named = |path: &PathBuf| path.file_name().is_none_or(|name| names.contains(name));
    event.paths.is_empty() || event.paths.iter().any(named)
}

/// A file that is written where it stands is not whole before its writer closes it; one that was
/// renamed is.
fn news(kind: EventKind) -> Option<News> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(News::Whole),
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => None,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Some(News::BeingWritten),
        _ => Some(News::Whole),
    }
}
