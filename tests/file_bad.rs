//! Files that are none, that must not be read, that change, and that are very long: one clear error within 100 ms and
//! 64 MB, or no cost at all.

mod common;

use std::fs;
use std::path::Path;

use common::dir::Dir;
use common::limits::{check, refuse_path, within_limits};
use common::raw::Raw;
use common::small;
use qorus::gguf::{Gguf, Value};
use qorus::{Code, Type};

#[test]
fn no_files() {
    let dir = Dir::new("no-files");
    refuse_path(&dir.0, Code::InvalidArgument, &["is a directory"]);
    refuse_path(&dir.0.join("none.gguf"), Code::NotFound, &["none.gguf", "no such file"]);
    refuse_path(&dir.file("empty.gguf", &[]), Code::Format, &["empty.gguf", "is empty"]);
    refuse_path(&dir.file("file", b"GGUF").join("below"), Code::Io, &["below"]);
    refuse_path(&dir.0.join("a\0b"), Code::Io, &["cannot be opened"]);
    refuse_path("".as_ref(), Code::NotFound, &["no such file"]);
    #[cfg(target_os = "linux")]
    {
        refuse_path("/dev/zero".as_ref(), Code::InvalidArgument, &["is a device"]);
        refuse_path("/proc/self/maps".as_ref(), Code::Format, &["is empty"]);
        let pipe = dir.0.join("pipe.gguf");
        let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
        // SAFETY: the name ends in a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let begin = std::time::Instant::now();
        refuse_path(&pipe, Code::InvalidArgument, &["pipe.gguf", "named pipe"]);
        assert!(begin.elapsed().as_secs() < 5, "waited for a writer");
    }
}

/// Permissions do not bind root, so this thread gives that up for files, and takes it back.
#[cfg(target_os = "linux")]
#[test]
fn no_permission() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new("no-permission");
    let path = dir.file("secret.gguf", &small::bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    // SAFETY: changes nothing but how this thread sees files.
    let before = unsafe { libc::setfsuid(65534) } as libc::uid_t;
    refuse_path(&path, Code::Io, &["secret.gguf", "ermission denied"]);
    // SAFETY: as above.
    unsafe { libc::setfsuid(before) };
}

#[test]
fn changed_since_it_was_mapped() {
    let dir = Dir::new("changed");
    let good = small::bytes();
    let path = dir.file("m.gguf", &good);
    let changed = |gguf: &Gguf, word: &str| {
        let error = gguf.check_unchanged().expect_err("the change was not noticed");
        check(&error, Code::FileChanged, "", &["m.gguf", word]);
    };
    let open = || {
        fs::write(&path, &good).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        gguf.check_unchanged().unwrap();
        gguf
    };

    let gguf = open();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(good.len() as u64 / 2).unwrap();
    changed(&gguf, "bytes when it was opened");
    // What is left of it stays readable; a slice behind its end must not be touched, and this test doesn't.
    assert!(gguf.entries().len() > 10);

    let gguf = open();
    fs::OpenOptions::new().append(true).open(&path).and_then(|mut f| std::io::Write::write(&mut f, &[0])).unwrap();
    changed(&gguf, "bytes when it was opened");

    let gguf = open();
    let other = dir.file("other.gguf", &good);
    fs::rename(other, &path).unwrap();
    changed(&gguf, "replaced");

    let gguf = open();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    changed(&gguf, "written to");

    let gguf = open();
    fs::remove_file(&path).unwrap();
    gguf.check_unchanged().expect("a file that was deleted stays whole while it is mapped");

    fs::write(&path, &good).unwrap();
    let gguf = Gguf::open_copy(&path).unwrap();
    fs::write(&path, b"short").unwrap();
    gguf.check_unchanged().expect("a copy has nothing to fear");
    assert_eq!(gguf.data(&gguf.tensors()[0]).len(), (small::DIM * small::VOCAB * 4) as usize);
}

/// What lies in the file costs no memory, however long it is: sparse files of many GB.
#[cfg(target_os = "linux")]
#[test]
fn long_files_stay_on_disk() {
    let dir = Dir::new("long");
    let long = |name: &str, raw: Raw, len: u64| {
        let path = dir.file(name, &raw.0);
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
        path
    };
    let array = |n: u64| Raw::new(3, 0, 1).string("k").u32(9).u32(0).u64(n);
    let path = long("array", array(1 << 30), (1 << 30) + 64);
    let gguf = within_limits(|| Gguf::open(&path)).unwrap();
    assert!(matches!(gguf.get("k"), Some(Value::Array(a)) if a.len() == 1 << 30));
    refuse_mapped(&long("array+", array((1 << 30) + 64), 1 << 30), &["\"k\""]);

    let tensor = || Raw::new(3, 1, 0).tensor("t", Type::Q4_0.id(), &[8192, 1 << 23], 0);
    let path = long("tensor", tensor(), (1 << 33) + (1 << 36));
    let gguf = within_limits(|| Gguf::open(&path)).unwrap();
    assert_eq!(gguf.data(&gguf.tensors()[0]).len(), (8192 << 23) / 32 * 18);
    refuse_mapped(&long("tensor+", tensor(), 1 << 35), &["tensor \"t\""]);

    let string = |n: u64| Raw::new(3, 0, 1).string("k").u32(8).u64(n);
    let path = long("string", string((1 << 31) + 1), 1 << 32);
    let gguf = within_limits(|| Gguf::open(&path)).unwrap();
    assert!(matches!(gguf.get("k"), Some(Value::Str(s)) if s.len() == (1 << 31) + 1));
    refuse_mapped(&long("string+", string(1 << 32), 1 << 32), &["\"k\""]);
}

#[track_caller]
fn refuse_mapped(path: &Path, words: &[&str]) {
    let error = within_limits(|| Gguf::open(path)).err().expect("the file was accepted");
    check(&error, Code::Format, "", words);
}
