def markdown(name, rows): return f"{len(rows)} runs"
