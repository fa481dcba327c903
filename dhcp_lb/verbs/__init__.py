"""The commands that an administrator types. No client's event loads this folder."""
