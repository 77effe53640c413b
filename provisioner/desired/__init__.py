"""What a spec asks for, as the kernel's bytes: `loading` reads the files, `encode` makes of them a `DesiredState`."""
