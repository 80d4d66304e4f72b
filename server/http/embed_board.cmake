# Writes the files of the board into a source file that defines BoardFiles().
#
#   cmake -D OUTPUT=FILE -D FOLDER=board -P embed_board.cmake FILE...
set(type_html "text/html; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_svg "image/svg+xml")

set(arrays "")
set(entries "")
foreach(name ${FILES})
  file(READ "${FOLDER}/${name}" hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(MAKE_C_IDENTIFIER "${name}" id)
  string(REGEX REPLACE ".*\\." "" extension "${name}")
  set(path "/${name}")
  if(name STREQUAL "index.html")
    set(path "/")
  endif()
  string(APPEND arrays "constexpr unsigned char k_${id}[] = {${bytes}};\n")
  string(APPEND entries "      {\"${path}\", \"${type_${extension}}\", Text(k_${id})},\n")
endforeach()

file(WRITE "${OUTPUT}" "#include \"server/http/board_files.h\"

namespace breaker::server {
namespace {

${arrays}
template <size_t size>
absl::string_view Text(const unsigned char (&bytes)[size]) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace

const std::vector<BoardFile>& BoardFiles() {
  static const std::vector<BoardFile> files = {
${entries}  };
  return files;
}

}  // namespace breaker::server
")
