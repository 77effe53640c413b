"""What comes with the project for other tools, tried with those tools."""
