"""What the Debian package's maintainer scripts need. Nothing else loads this folder."""
