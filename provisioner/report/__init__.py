"""What people and machines read: `model` walks a plan once, the others only format it. Pure."""
