//! Bytes in and out: listeners, streams, files, clock. The only caller of the kernel; unsafe only in `net/sys`.
