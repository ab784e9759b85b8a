// A table that fits the terminal, and the same rows as JSON.
//
//   Table table({{"CONTAINER"}, {"IMAGE", Table::kShrinks}, {"COMMAND", Table::kShrinks}});
//   table.Add({"1f0c…", "busybox", "sh -c …"});
//   fputs(table.Render(TerminalWidth(1)).c_str(), stdout);
//
// Not thread-safe.
#ifndef GANTRY_CMD_GANTRY_UI_TABLE_H_
#define GANTRY_CMD_GANTRY_UI_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

namespace gantry::cli {

// The width of the terminal that `fd` is (TIOCGWINSZ); 0 if it is none, or doesn't tell: then nothing is cut,
// so that scripts and pipes get whole values.
size_t TerminalWidth(int fd);

class Table {
 public:
  enum Fit { kKeeps, kShrinks };
  struct Column {
    std::string title;
    Fit fit = kKeeps;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell per column. Control characters in them are replaced (OneLine).
  void Add(std::vector<std::string> cells);

  // Title line and rows, columns two spaces apart, no spaces at the ends of lines. If they are wider than
  // `width` (0: unlimited), the widest of the columns that shrink lose, down to 8 columns each; then every
  // line is cut at `width`.
  std::string Render(size_t width) const;

 private:
  std::vector<size_t> Widths(size_t width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_UI_TABLE_H_
