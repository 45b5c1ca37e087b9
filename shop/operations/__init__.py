"""Operations: health, metrics, the doctor, audit reports, housekeeping, task dispatch."""
