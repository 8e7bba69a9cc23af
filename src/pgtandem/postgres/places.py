"""Where PostgreSQL comes from, in words for people."""

#: Major versions that the embedded wheel brings.
EMBEDDED_MAJORS = (16, 18)


def install_hint(major: int) -> str:
    """The commands that install the server programs of a major version, for the common systems."""
    hint = f"apt-get install postgresql-{major}   (Debian, Ubuntu)   or   dnf install postgresql{major}-server   (RHEL)"
    if major in EMBEDDED_MAJORS:
        hint += "   or   pip install 'pgtandem[embedded]'"
    return hint
