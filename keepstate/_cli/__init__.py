"""The command line: looks at a store from outside, and never makes one."""
