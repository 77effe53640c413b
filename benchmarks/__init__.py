"""How fast the provisioner is, against C that makes the same system calls and against what people do instead."""
