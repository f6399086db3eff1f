//! `hilum prepare` within its memory, however many threads it has and whatever the headers claim.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::{ExtendedColorType, ImageEncoder};

use super::bad_input::chunk;

const SIDE: u32 = 2_400;
const FILES: u32 = 20;

fn plain(seed: u32) -> Vec<u8> {
    let samples: Vec<u8> = (0..SIDE * SIDE).map(|i| (i / SIDE + seed) as u8).collect();
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(&samples, SIDE, SIDE, ExtendedColorType::L8)
        .unwrap();
    bytes
}

/// A header that claims as much as the others hold, and nothing behind it.
fn hollow(seed: u32) -> Vec<u8> {
    let whole = plain(seed);
    [&whole[..33], &chunk(b"IDAT", &[seed as u8; 99]), &chunk(b"IEND", &[])].concat()
}

/// The most memory that a process had, in bytes, read until it ends.
#[cfg(target_os = "linux")]
fn peak(mut child: std::process::Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the process does not end");
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        peak = kibibytes.unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    peak << 10
}

#[cfg(target_os = "linux")]
#[test]
fn threads_decode_no_more_at_a_time_than_the_headers_may_claim() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("NORMAL")).unwrap();
    std::fs::create_dir_all(source.join("PNEUMONIA")).unwrap();
    for n in 0..FILES {
        std::fs::write(source.join(format!("NORMAL/p{n}.png")), plain(n)).unwrap();
        std::fs::write(source.join(format!("PNEUMONIA/p{n}.png")), hollow(n)).unwrap();
    }
    let recipe = folder.path().join("steps.toml");
    std::fs::write(
        &recipe,
        "step = [{ op = \"decode\", color = \"gray\" }, \
         { op = \"resize\", width = 8, height = 8, filter = \"bilinear_antialias\" }, \
         { op = \"quantise8\" }]",
    )
    .unwrap();
    // Two bytes a pixel by the header: each file alone has all that a frame may take.
    let frame = u64::from(SIDE * SIDE) * 2;
    let run = |workers: &str, frame: u64| {
        let destination = folder.path().join(format!("prepared-{workers}-{frame}"));
        let child = Command::new(env!("CARGO_BIN_EXE_hilum"))
            .args(["prepare", "--patient", "p\\d+", "--output", "json", "--workers", workers])
            .args(["--folds", "2", "--recipe"])
            .args([&recipe, &source, &destination])
            .env("HILUM__LIMITS__IMAGE__MAX_FRAME_BYTES", frame.to_string())
            .env("HILUM__LIMITS__IMAGE__MAX_RATIO", "1000000")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let peak = peak(child);
        let report = std::fs::read(destination.join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["prepared"], FILES);
        assert_eq!(report["failed"].as_object().unwrap().len(), FILES as usize);
        peak
    };
    // Sixteen threads with one image each, or two at a time: the allocator keeps some of what each
    // thread gave back, so that the bound is told by what there is without one.
    let bounded = run("16", frame);
    let unbounded = run("16", 100 * frame);
    assert!(bounded < unbounded / 4 * 3, "{bounded} with a bound, {unbounded} without one");
}
