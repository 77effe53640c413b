"""The command line: `verbs` has a function per verb; nothing else prints or exits."""
