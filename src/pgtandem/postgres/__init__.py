"""What PostgreSQL is, per major version 10 to 18: settings, files, control data, connection texts. Parse and render.

Pure: texts in, values out, and back. Nothing here knows of a topology or a plan.
"""
