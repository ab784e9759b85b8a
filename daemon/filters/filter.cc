#include "daemon/filters/filter.h"

#include <re2/re2.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/filters/scanner.h"
#include "runtime/sys/status.h"

namespace gantry::filters {

enum class Operator { kPresent, kEqual, kNotEqual, kMatches };

struct Filter::Selector {
  std::vector<std::string> path;
  Operator op = Operator::kPresent;
  std::string value;
  std::unique_ptr<re2::RE2> pattern;  // of kMatches
};

namespace {

constexpr int64_t kPatternMemory = 1 << 20;  // RE2's own budget for one compiled pattern

class Parser {
 public:
  explicit Parser(absl::string_view text) : text_(text), scanner_(text) {}

  absl::StatusOr<std::vector<std::shared_ptr<const Filter::Selector>>> Parse() {
    std::vector<std::shared_ptr<const Filter::Selector>> selectors;
    for (;;) {
      GANTRY_ASSIGN_OR_RETURN(Filter::Selector selector, ParseSelector());
      selectors.push_back(std::make_shared<const Filter::Selector>(std::move(selector)));
      if (scanner_.AtEnd()) return selectors;
      if (scanner_.Peek() != ',') {
        return Error(scanner_.position(), "unexpected input: expected a comma or the end");
      }
      if (selectors.size() >= kMaxSelectors) {
        return Error(scanner_.position(), absl::StrCat("more than ", kMaxSelectors, " selectors"));
      }
      scanner_.Next();
    }
  }

 private:
  absl::Status Error(size_t position, absl::string_view problem) const {
    return absl::InvalidArgumentError(absl::StrCat("filter \"", absl::Utf8SafeCEscape(text_.substr(0, 200)),
                                                   "\": parse error at byte ", position, ": ", problem));
  }
  absl::Status Error(const Token& token, absl::string_view expected) const {
    return Error(token.position, token.kind == TokenKind::kIllegal ? token.problem : expected);
  }

  absl::StatusOr<std::string> ParseQuoted(const Token& token, bool any_quote) const {
    if (!any_quote && token.text.front() != '"') {
      return Error(token.position, "invalid quote encountered: only \"…\" may stand here");
    }
    auto text = Unquote(token.text);
    if (!text.ok()) return Error(token.position, text.status().message());
    return text;
  }

  absl::StatusOr<std::string> ParseField() {
    const Token token = scanner_.Next();
    if (token.kind == TokenKind::kField) return std::string(token.text);
    if (token.kind == TokenKind::kQuoted) return ParseQuoted(token, false);
    return Error(token, "expected field or quoted");
  }

  absl::StatusOr<Operator> ParseOperator() {
    const Token token = scanner_.Next();
    if (token.kind != TokenKind::kOperator) {
      return Error(token, "expected an operator (\"==\"|\"!=\"|\"~=\")");
    }
    if (token.text == "==") return Operator::kEqual;
    if (token.text == "!=") return Operator::kNotEqual;
    if (token.text == "~=") return Operator::kMatches;
    return Error(token.position, absl::StrCat("unsupported operator \"", token.text, "\""));
  }

  absl::StatusOr<Filter::Selector> ParseSelector() {
    Filter::Selector selector;
    for (;;) {
      GANTRY_ASSIGN_OR_RETURN(std::string field, ParseField());
      selector.path.push_back(std::move(field));
      if (scanner_.Peek() != '.') break;
      scanner_.Next();
    }
    if (scanner_.AtEnd() || scanner_.Peek() == ',') return selector;
    GANTRY_ASSIGN_OR_RETURN(selector.op, ParseOperator());
    const Token token = scanner_.Next();
    if (token.kind == TokenKind::kValue || token.kind == TokenKind::kField) {
      selector.value = std::string(token.text);
    } else if (token.kind == TokenKind::kQuoted) {
      GANTRY_ASSIGN_OR_RETURN(selector.value, ParseQuoted(token, selector.op == Operator::kMatches));
    } else {
      return Error(token, "expected value or quoted");
    }
    if (selector.op == Operator::kMatches) {
      re2::RE2::Options options(re2::RE2::Quiet);
      options.set_max_mem(kPatternMemory);
      selector.pattern = std::make_unique<re2::RE2>(selector.value, options);
      if (!selector.pattern->ok()) {
        return Error(token.position, absl::StrCat("invalid pattern: ", selector.pattern->error()));
      }
    }
    return selector;
  }

  const absl::string_view text_;
  Scanner scanner_;
};

bool Holds(const Filter::Selector& selector, Adaptor adaptor) {
  const std::optional<absl::string_view> field = adaptor(selector.path);
  const absl::string_view value = field.value_or(absl::string_view());
  switch (selector.op) {
    case Operator::kPresent:
      return field.has_value();
    case Operator::kEqual:
      return field.has_value() && value == selector.value;
    case Operator::kNotEqual:
      return value != selector.value;
    case Operator::kMatches:
      return re2::RE2::PartialMatch(re2::StringPiece(value.data(), value.size()), *selector.pattern);
  }
  return false;
}

}  // namespace

absl::StatusOr<Filter> Filter::ParseList(const std::vector<absl::string_view>& texts) {
  if (texts.size() > kMaxSelectors) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid filter list: ", texts.size(), " filters, at most ", kMaxSelectors));
  }
  Filter filter;
  bool everything = texts.empty();
  for (absl::string_view text : texts) {
    if (text.size() > kMaxFilterBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid filter: ", text.size(), " bytes, at most ", kMaxFilterBytes));
    }
    if (text.empty()) {
      everything = true;
      continue;
    }
    GANTRY_ASSIGN_OR_RETURN(Selectors selectors, Parser(text).Parse());
    filter.alternatives_.push_back(std::move(selectors));
  }
  if (everything) filter.alternatives_.clear();
  return filter;
}

absl::StatusOr<Filter> Filter::Parse(absl::string_view text) { return ParseList({text}); }

bool Filter::Match(Adaptor adaptor) const {
  if (alternatives_.empty()) return true;
  for (const Selectors& selectors : alternatives_) {
    bool all = true;
    for (const auto& selector : selectors) {
      if (!Holds(*selector, adaptor)) {
        all = false;
        break;
      }
    }
    if (all) return true;
  }
  return false;
}

}  // namespace gantry::filters
