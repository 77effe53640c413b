"""The seam to the kernel: the only package that makes BPF system calls.

`libbpf` binds the library, `fd` owns what it hands out, `reasons` explains its errors; above them are maps, their
batches, object files, links, pins and the host. Nothing outside sees ctypes or a bare fd.
"""
