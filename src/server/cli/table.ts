/** Rows as aligned columns; columns of numbers to the right. */
export type Row = Readonly<Record<string, string | number | boolean | null>>;

export const formatTable = (rows: readonly Row[], columns: readonly string[]): string => {
  const cells = rows.map((row) => columns.map((column) => String(row[column] ?? '-')));
  const widths = columns.map((column, i) => Math.max(column.length, ...cells.map((row) => row[i]!.length)));
  const isNumeric = columns.map((column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  const formatRow = (row: readonly string[]): string =>
    row
      .map((cell, i) => (isNumeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [formatRow(columns.map((column) => column.toUpperCase())), ...cells.map(formatRow)].join('\n');
};
