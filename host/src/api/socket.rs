//! The socket of the control API.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::UnixListener;

/// Listens at `path`; its owner and group may connect. The socket that a process which is gone has
/// left there is replaced.
///
/// # Errors
/// When another process listens there, something else than a socket is there, or the folder cannot
/// be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(|error| explain(path, &error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(|error| explain(path, &error))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(path, &error)),
        Ok(found) if !found.file_type().is_socket() => {
            let reason = format!("{} is there and is not a socket: move it away", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| explain(path, &error))
        }
        Err(error) => Err(explain(path, &error)),
        Ok(_) => {
            let reason = format!(
                "another process listens at {}: stop it, or set control.listen",
                path.display()
            );
            Err(io::Error::new(io::ErrorKind::AddrInUse, reason))
        }
    }
}

fn explain(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket_path() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("control");
        (folder, path)
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_group() {
        let (_folder, path) = socket_path();
        let _listener = bind(&path).expect("a free path");
        let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced() {
        let (_folder, path) = socket_path();
        drop(bind(&path).expect("a free path"));
        assert!(path.exists(), "a listener that is dropped leaves its file, like a crash");
        bind(&path).expect("a stale socket is replaced");
    }

    #[tokio::test]
    async fn a_live_socket_is_left_alone() {
        let (_folder, path) = socket_path();
        let _live = bind(&path).expect("a free path");
        let error = bind(&path).expect_err("the first still listens");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another process listens at"), "{error}");
    }

    #[tokio::test]
    async fn another_file_is_left_alone() {
        let (_folder, path) = socket_path();
        std::fs::write(&path, "precious").expect("a file");
        let error = bind(&path).expect_err("not a socket");
        assert!(error.to_string().contains("is not a socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "precious");
    }
}
