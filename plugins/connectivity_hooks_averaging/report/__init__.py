"""What is written of an average and of a graph: plain data, tables, pictures and pages."""
