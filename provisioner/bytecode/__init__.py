"""Generated BPF programs: an assembler, and the programs that let the kernel walk maps in place of system calls.

The sizes of keys and values are constants of a program, so it is generated when they are known, and no compiler is
needed at run time. `bpf/` has the same programs in C; `tests/bytecode` compares what both do. Pure.
"""
