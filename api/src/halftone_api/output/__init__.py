"""The files that a request gives back: output file and report, as CSV or as a workbook. Pure."""
