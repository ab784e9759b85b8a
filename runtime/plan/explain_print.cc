// An Explanation as aligned text and as JSON.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/oci/json_writer.h"
#include "runtime/plan/explain.h"
#include "runtime/plan/print.h"

namespace gantry::plan {
namespace {

constexpr size_t kMaxColumn = 40;    // a longer cell does not push all others to the right
constexpr size_t kMaxOneLine = 100;  // a longer list goes over several lines

struct TextOf {
  std::string operator()(const std::string& text) const { return text.empty() ? "" : Word(text); }
  std::string operator()(uint64_t number) const { return absl::StrCat(number); }
  std::string operator()(const std::vector<std::string>& list) const {
    return absl::StrJoin(list, " ", [](std::string* out, const std::string& item) { *out += Word(item); });
  }
};

// What has spaces between words on purpose is not quoted; what a terminal would act on still is.
std::string Plain(const Cell& cell) {
  const auto* text = std::get_if<std::string>(&cell.value);
  if (text == nullptr) return std::visit(TextOf{}, cell.value);
  const bool printable =
      std::all_of(text->begin(), text->end(), [](unsigned char c) { return c >= ' ' && c != 0x7f; });
  return printable ? *text : Word(*text);
}

void PrintList(const std::vector<std::string>& items, std::string* text) {
  for (const std::string& item : items) absl::StrAppend(text, "      ", Word(item), "\n");
}

class TablePrinter {
 public:
  explicit TablePrinter(const std::vector<Row>& rows) : rows_(rows) {
    for (const Row& row : rows) {
      widths_.resize(std::max(widths_.size(), row.cells.size()));
      for (size_t i = 0; i < row.cells.size(); i++) {
        const size_t size = Plain(row.cells[i]).size();
        if (size <= kMaxColumn) widths_[i] = std::max(widths_[i], size);
      }
    }
  }

  void Print(std::string* text) const {
    for (const Row& row : rows_) PrintRow(row, text);
  }

 private:
  void PrintRow(const Row& row, std::string* text) const {
    std::string line = " ";
    const std::vector<std::string>* below = nullptr;
    for (size_t i = 0; i < row.cells.size(); i++) {
      std::string cell = Plain(row.cells[i]);
      const auto* list = std::get_if<std::vector<std::string>>(&row.cells[i].value);
      if (list != nullptr && cell.size() > kMaxOneLine) {
        below = list;
        cell.clear();
      }
      if (widths_[i] == 0 && cell.empty()) continue;
      cell.resize(std::max(cell.size(), widths_[i]), ' ');
      absl::StrAppend(&line, " ", cell, " ");
    }
    absl::StrAppend(&line, " ", row.meaning);
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(text, line, "\n");
    if (below != nullptr) PrintList(*below, text);
  }

  const std::vector<Row>& rows_;
  std::vector<size_t> widths_;
};

struct JsonOf {
  oci::JsonWriter& json;
  const std::string& key;
  template <typename T>
  void operator()(const T& value) const {
    json.Member(key, value);
  }
};

}  // namespace

std::string ToText(const Explanation& explanation) {
  std::string text;
  for (const Section& section : explanation.sections) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", section.title, ": ", section.about, "\n");
    if (section.rows.empty()) absl::StrAppend(&text, "  ", section.nothing, "\n");
    TablePrinter(section.rows).Print(&text);
  }
  if (!explanation.warnings.empty()) absl::StrAppend(&text, "\nWarnings: settings that are left out\n");
  for (const std::string& warning : explanation.warnings) absl::StrAppend(&text, "  ", warning, "\n");
  return text;
}

std::string ToJson(const Explanation& explanation, const Plan& plan) {
  oci::JsonWriter json(true);
  json.StartObject();
  for (const Section& section : explanation.sections) {
    json.Key(section.key);
    json.StartArray();
    for (const Row& row : section.rows) {
      json.StartObject();
      for (const Cell& cell : row.cells) std::visit(JsonOf{json, cell.key}, cell.value);
      json.Some("meaning", row.meaning);
      json.EndObject();
    }
    json.EndArray();
  }
  WriteMembers(json, plan);
  json.EndObject();
  return json.Take();
}

}  // namespace gantry::plan
