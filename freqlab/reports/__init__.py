"""Reports: notebooks executed by papermill, rendered as pages."""
