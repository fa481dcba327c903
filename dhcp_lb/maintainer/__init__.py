"""For the Debian package's maintainer scripts. Nothing else loads this folder."""
