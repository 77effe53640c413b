"""The seam to the kernel: the only package that makes BPF system calls.

`libbpf` binds the library, `fd` owns what it hands out, `reasons` words what it refuses; above them stand maps, their
batches, object files, links, pins and the host. Nothing outside sees ctypes or a bare fd.
"""
