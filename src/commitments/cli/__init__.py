"""The command line: `commands`, what they print (`listing`, `text`), and times (`times`)."""
