//! Folders of the disk in memory: second names, changes of places, and what a power loss leaves of them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use wholetape_lab::dice::Dice;
use wholetape_lab::disk::MemDisk;
use wholetape_tape::{Access, Disk, Locking};

fn disk(seed: u64) -> MemDisk {
    MemDisk::new(Path::new("/d"), seed)
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new("/d").join(name)
}

fn write(disk: &MemDisk, name: &str, text: &str) {
    let file = disk.open(&path(name), Access::Create).unwrap();
    file.write_at(text.as_bytes(), 0).unwrap();
    file.sync().unwrap();
}

fn read(disk: &MemDisk, name: &str) -> Option<String> {
    disk.read(&path(name)).ok().map(|b| String::from_utf8(b).unwrap())
}

fn sync(disk: &MemDisk, names: &[&str]) {
    for name in names {
        disk.sync_dir(&path(name)).unwrap();
    }
}

/// What each of 60 power losses after `then` leaves, as `look` sees it.
fn outcomes<T: Ord>(then: impl Fn(&MemDisk), look: impl Fn(&MemDisk) -> T) -> BTreeSet<T> {
    (0..60)
        .map(|seed| {
            let disk = disk(seed);
            then(&disk);
            disk.power_loss(&mut Dice::new(seed));
            look(&disk)
        })
        .collect()
}

/// `a/f` says a, `b/f` says b; both are on the disk.
fn two(disk: &MemDisk) {
    for name in ["x/a", "y/b"] {
        disk.create_dir(&path(name)).unwrap();
        write(disk, &format!("{name}/f"), &name[2..]);
        sync(disk, &[name, &name[..1], ""]);
    }
}

#[test]
fn a_second_name_keeps_the_file_and_its_room_until_the_last_one_goes() {
    let disk = disk(1);
    disk.create_dir(&path("a/b")).unwrap();
    write(&disk, "a/one", "text");
    disk.link(&path("a/one"), &path("a/b/two")).unwrap();
    assert_eq!(disk.used(), 4);
    assert_eq!(disk.link(&path("a/one"), &path("a/b/two")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.link(&path("a/none"), &path("a/three")).unwrap_err().kind(), ErrorKind::NotFound);
    disk.remove(&path("a/one")).unwrap();
    assert_eq!((disk.used(), read(&disk, "a/b/two").as_deref()), (4, Some("text")));
    assert_eq!(disk.remove_dir(&path("a/b")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    disk.remove(&path("a/b/two")).unwrap();
    assert_eq!(disk.used(), 0);
    disk.remove_dir(&path("a/b")).unwrap();
    assert_eq!(disk.list(&path("a/b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.list(&path("a")).unwrap().is_empty());
}

#[test]
fn folders_change_places_with_all_that_is_in_them() {
    let disk = disk(1);
    two(&disk);
    disk.exchange(&path("x/a"), &path("y/b")).unwrap();
    assert_eq!((read(&disk, "x/a/f").as_deref(), read(&disk, "y/b/f").as_deref()), (Some("b"), Some("a")));
    assert!(disk.exchange(&path("x"), &path("x/a")).is_err(), "not with one of its own");
    assert_eq!(disk.exchange(&path("x/a"), &path("x/none")).unwrap_err().kind(), ErrorKind::NotFound);
    disk.crash();
    assert_eq!(read(&disk, "x/a/f").as_deref(), Some("b"), "a kill undoes nothing");
}

#[test]
fn a_power_loss_undoes_a_change_of_places_in_both_or_in_neither() {
    let both = |d: &MemDisk| (read(d, "x/a/f").unwrap(), read(d, "y/b/f").unwrap());
    let old = ("a".to_owned(), "b".to_owned());
    let new = ("b".to_owned(), "a".to_owned());
    let swap = |d: &MemDisk| {
        two(d);
        d.exchange(&path("x/a"), &path("y/b")).unwrap();
    };
    assert_eq!(outcomes(swap, both), BTreeSet::from([old.clone(), new.clone()]));
    let half = |d: &MemDisk| {
        swap(d);
        sync(d, &["x"]);
    };
    assert_eq!(outcomes(half, both), BTreeSet::from([old, new.clone()]), "one parent alone is not enough");
    let whole = |d: &MemDisk| {
        half(d);
        sync(d, &["y"]);
    };
    assert_eq!(outcomes(whole, both), BTreeSet::from([new]));
}

#[test]
fn what_follows_a_change_in_a_folder_is_not_kept_without_it() {
    let story = |d: &MemDisk| {
        two(d);
        d.exchange(&path("x/a"), &path("y/b")).unwrap();
        write(d, "x/later", "l");
        sync(d, &["x"]);
    };
    // The later name of `x` is sure, so what came before it is.
    let look = |d: &MemDisk| (read(d, "x/later").is_some(), read(d, "y/b/f").unwrap());
    assert_eq!(outcomes(story, look), BTreeSet::from([(true, "a".to_owned())]));
}

#[test]
fn a_new_folder_that_no_synced_name_leads_to_goes_with_its_files() {
    let story = |d: &MemDisk| {
        d.create_dir(&path("n/m")).unwrap();
        write(d, "n/m/f", "f");
        sync(d, &["n/m"]);
    };
    let seen = outcomes(story, |d| read(d, "n/m/f").is_some());
    assert_eq!(seen, BTreeSet::from([false, true]));
    let all = |d: &MemDisk| {
        story(d);
        sync(d, &["n", ""]);
    };
    assert_eq!(outcomes(all, |d| read(d, "n/m/f").is_some()), BTreeSet::from([true]));
}

#[test]
fn a_name_that_moves_to_another_folder_may_be_in_both_or_in_neither() {
    let story = |d: &MemDisk| {
        two(d);
        d.rename(&path("x/a/f"), &path("y/b/g")).unwrap();
    };
    let look = |d: &MemDisk| (read(d, "x/a/f").is_some(), read(d, "y/b/g").is_some());
    assert_eq!(outcomes(story, look).len(), 4);
    let synced = |d: &MemDisk| {
        story(d);
        sync(d, &["y/b"]);
    };
    assert!(outcomes(synced, look).iter().all(|(_, there)| *there));
}

#[test]
fn locks_are_by_path_and_forks_part() {
    let disk = disk(1);
    let held = disk.lock(&path("one")).unwrap();
    assert!(matches!(disk.lock(&path("one")).unwrap(), Locking::Taken(_)));
    assert!(matches!(disk.lock(&path("two")).unwrap(), Locking::Held(_)));
    drop(held);
    assert!(matches!(disk.lock(&path("one")).unwrap(), Locking::Held(_)));
    write(&disk, "f", "old");
    let other = disk.fork();
    write(&disk, "f", "new");
    assert_eq!((read(&disk, "f").as_deref(), read(&other, "f").as_deref()), (Some("new"), Some("old")));
}
